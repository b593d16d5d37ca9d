"""From a preset to a report: one protocol, and one runner, for every kind of experiment."""
