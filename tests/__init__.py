"""Tests: what the package promises, said by behaviour."""
