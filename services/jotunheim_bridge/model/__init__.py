"""Pure rules of the bridge: framing, negotiation, policy, and translation between contract and link."""
