"""``python -m xraycls``."""

from xraycls.cli import main

if __name__ == "__main__":
    main()
