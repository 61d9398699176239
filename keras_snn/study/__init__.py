"""The paper's inference study: spike-trained against converted networks.

>>> from keras_snn.study import study
>>> from keras_snn.training import recipe
>>> result = study(recipe("lenet", "digits"), "runs/study-lenet-digits")
"""

from keras_snn.study.running import study
from keras_snn.study.twin import ordinary_twin

__all__ = ["ordinary_twin", "study"]
