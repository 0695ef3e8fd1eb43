"""The training engine: a skorch net with fast hooks, and what it is made of.

Nothing here knows of scikit-learn estimators or of any network.
"""
