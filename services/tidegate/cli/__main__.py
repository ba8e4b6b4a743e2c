"""`python -m tidegate.cli`, which is how `tidegate up` starts the services."""

from tidegate.cli.main import main

main()
