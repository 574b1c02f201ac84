"""`python -m infra.cli`, which is what the command `jobs` runs."""

from infra.cli.app import main

main()
