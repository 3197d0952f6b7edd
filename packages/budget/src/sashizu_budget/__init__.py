"""One hierarchical budget for a whole tree of agents: begin at `sashizu_budget.ledger`."""
