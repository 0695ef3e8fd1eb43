"""Looking at a fitted classifier: how it learned, where it errs and how well it does."""

from skcnn.inspection._confusion_matrix import ConfusionMatrixDisplay, plot_confusion_matrix
from skcnn.inspection._evaluation import EvaluationReport, Mistake, evaluate
from skcnn.inspection._history import HistoryDisplay, plot_history
from skcnn.inspection._learning_rate import LearningRateDisplay, find_lr
from skcnn.inspection._mistakes import MistakesDisplay, plot_mistakes

__all__ = [
    "ConfusionMatrixDisplay",
    "EvaluationReport",
    "HistoryDisplay",
    "LearningRateDisplay",
    "Mistake",
    "MistakesDisplay",
    "evaluate",
    "find_lr",
    "plot_confusion_matrix",
    "plot_history",
    "plot_mistakes",
]
