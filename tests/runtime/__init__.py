"""The packages that a deployment uploads, run on Lambda's own runtime, emulated: `make test-runtime`."""
