"""Classical make-up transfer: colours of a reference, region by region."""
