"""What was learned, to compare fits to the byte."""


def weights_of(clf):
    """Weights and buffers of the network, in bytes."""
    return b"".join(value.numpy().tobytes() for value in clf.module_.state_dict().values())


def without_times(history):
    """History of the epochs, without the seconds that they took."""
    return [{name: value for name, value in epoch.items() if name != "dur"} for epoch in history]


def content(clf, X):
    """Everything that was learned, in bytes where it is many; the time that it took aside."""
    return [
        clf.predict_proba(X).tobytes(),
        weights_of(clf),
        without_times(clf.history_),
        clf.best_epoch_,
        clf.n_epochs_,
        clf.precision_,
        clf.memory_format_,
    ]
