"""`python -m sne`: the command `sne`, for launchers such as torchrun."""

from sne.cli.main import main

if __name__ == "__main__":
    main()
