"""What users call: pack, open, verify, unpack."""
