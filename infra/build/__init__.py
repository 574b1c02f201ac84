"""What a deployment uploads: the layer, one asset for each function, and the deployment's own functions.

`make build` makes them from this checkout and the pinned requirements, without Docker, and the same to the byte each time.
`infra.build.artifacts` is how others find what was made.
"""
