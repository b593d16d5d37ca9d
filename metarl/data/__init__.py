"""Data for supervised learning, drawn by generators: recall sequences, glyphs and few-shot episodes."""
