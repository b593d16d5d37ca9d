"""Networks around the memory: encoders before it, heads after it, and the policy that joins them."""
