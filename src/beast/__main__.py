"""The command `beast`, also as `python -m beast`."""

from beast.base.interrupt import quiet_interrupts

with quiet_interrupts():
    from beast.cli.main import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    main()
