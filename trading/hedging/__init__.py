"""The way to providers: hedges as FIX messages, and the sessions they go over."""
