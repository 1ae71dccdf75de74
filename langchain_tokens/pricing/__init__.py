"""What does a call cost? The parts behind `PriceBook`."""
