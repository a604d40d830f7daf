"""What the ledger tells: sums, tables, the page, clients, what is spent of a budget."""
