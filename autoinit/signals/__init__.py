"""Signal models: what is known of a tensor's distribution, and how operations change it."""
