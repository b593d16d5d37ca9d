"""Data for supervised learning: recall sequences, drawn glyphs, Omniglot, folders of images, few-shot episodes."""
