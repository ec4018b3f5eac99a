"""``python -m erp``."""

from erp.cli import entry

if __name__ == "__main__":
    entry()
