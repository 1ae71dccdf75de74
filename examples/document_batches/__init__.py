"""What did the results use that a processor gives out in batches, and how fast were they? A poller stores it."""
