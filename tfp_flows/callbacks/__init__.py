"""Keras callbacks: a rate with a deadline, averaged weights, recorded stages."""

from tfp_flows.callbacks.cosine_to_deadline import CosineToDeadline
from tfp_flows.callbacks.stage_pictures import StagePictures
from tfp_flows.callbacks.weight_average import WeightAverage

__all__ = ["CosineToDeadline", "StagePictures", "WeightAverage"]
