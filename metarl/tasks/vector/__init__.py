"""Many trials side by side, in one process or several, and the view of them for Stable-Baselines3."""
