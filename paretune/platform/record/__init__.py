"""What happened: the ledger, durable results, and the one reading of them that everything shares."""
