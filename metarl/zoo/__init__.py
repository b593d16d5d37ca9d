"""Small trained models that come with the package, and what makes, checks and shares them.

An entry is a run folder reduced to what is needed to use its model: configuration, weights, and a card that says what
they were trained on and how well they do. ``metarl.load("zoo:NAME")`` opens one.
"""
