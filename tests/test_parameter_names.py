"""Names of parameters: plain ones, and errors that lead from others to them."""

import pytest
from helpers.messages import mentions
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback, LRScheduler
from test_interrupts import X, lenet, y
from torch.optim.lr_scheduler import StepLR

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.exceptions import SeveralSchedulesWarning

MEANT = {
    "module__width": "module_params={'width'",
    "module_params__width": "module_params={'width'",
    "module__dropout": "module_params={'dropout'",
    "optimizer__lr": "'lr'",
    "optimizer__momentum": "'momentum'",
    "optimizer__weight_decay": "'weight_decay'",
    "net__lr": "'lr'",
    "net__max_epochs": "'max_epochs'",
    "iterator_train__batch_size": "'batch_size'",
    "iterator_train__shuffle": "'batch_size'",
    "criterion__weight": "'class_weight'",
    "criterion__label_smoothing": "'label_smoothing'",
    "callbacks__stopping__patience": "'patience'",
    "callbacks__scheduler__step_size": "callbacks=",
    "lr_schedule__step_size": "lr_schedule=functools.partial(..., step_size",
    "train_split__cv": "'validation_fraction'",
    "learning_rate": "'lr'",
    "epochs": "'max_epochs'",
    "n_epochs": "'max_epochs'",
    "batchsize": "'batch_size'",
    "seed": "'random_state'",
    "optimiser": "'optimizer'",
    "momentun": "'momentum'",
    "nothing_like_it": "get_params",
}


@pytest.mark.parametrize("name", MEANT)
def test_an_unknown_name_is_an_error_with_the_one_that_is_meant(name):
    clf = CNNClassifier(callbacks=[("stopping", Callback())])
    before = clf.get_params()
    pipeline = make_pipeline(FunctionTransformer(), clf)
    search = GridSearchCV(clf, {name: [1, 2]}, cv=2)
    for call in (
        lambda: clf.set_params(lr=0.5, **{name: 1}),
        lambda: pipeline.set_params(**{f"cnnclassifier__{name}": 1}),
        lambda: search.fit(X, y),
    ):
        with pytest.raises(ValueError, match=mentions(repr(name))) as caught:
            call()
        assert MEANT[name] in str(caught.value)
    assert clf.get_params() == before


def test_the_network_s_own_parameters_are_meant_where_it_has_them():
    with pytest.raises(ValueError, match="'padding'"):
        LeNetClassifier().set_params(module__padding=0)


def test_plain_names_are_set_and_cloned():
    clf = CNNClassifier().set_params(lr=0.5, module_params={"width": 3}, optimizer="sgd")
    assert clone(clf).get_params() == clf.get_params()
    assert (clf.lr, clf.module_params, clf.optimizer) == (0.5, {"width": 3}, "sgd")


class OwnScheduler(Callback):
    """Steps a scheduler of torch's, made when training begins."""

    def on_epoch_begin(self, net, **kwargs):
        if not hasattr(self, "schedule_"):
            self.schedule_ = StepLR(net.optimizer_, 1)

    def on_epoch_end(self, net, **kwargs):
        self.schedule_.step()


@pytest.mark.parametrize("make", [lambda: LRScheduler("StepLR", step_size=1), OwnScheduler])
def test_a_second_schedule_is_warned_of_and_alone_it_rules(make):
    with pytest.warns(SeveralSchedulesWarning, match="lr_schedule=None"):
        lenet(make()).fit(X, y)
    clf = lenet(make(), lr_schedule=None, lr=1e-2).fit(X, y)
    rates = [epoch["lr"] for epoch in clf.history_]
    assert rates == pytest.approx([1e-2 * 0.1**epoch for epoch in range(4)])


@pytest.mark.parametrize("name", ["early_stopping", "lr_schedule", "accuracy", "epoch_timer"])
def test_a_callback_does_not_replace_one_of_ours(name):
    with pytest.raises(ValueError, match=name):
        lenet((name, Callback())).fit(X, y)
