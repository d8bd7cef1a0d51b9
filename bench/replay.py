"""What reading a ledger back costs, beside other stores: see `bench/steps.py`, which this starts."""

from bench.steps import main

if __name__ == "__main__":
    main()
