"""Real client classes against recorded responses of providers: what is stored, compared with the known truth."""
