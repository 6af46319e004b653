"""``python -m boxless``, and what ``torchrun -m boxless`` starts."""

from boxless.cli import main

if __name__ == "__main__":
    main()
