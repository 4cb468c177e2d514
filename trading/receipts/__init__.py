"""Receipts: what a closed order was agreed as, which ticks decided it, what was paid; signed, for anybody."""
