"""The bridge's pure rules: framing, negotiation, policy, and the translation between contract and link."""
