"""From scans to written derivatives: it gets finished objects, never a config."""

from harmony.delivery.applied import Applied
from harmony.delivery.bids_filter import read_filter
from harmony.delivery.call import Outcome, deliver
from harmony.delivery.derivatives import Derivatives
from harmony.delivery.output import Output, Result
from harmony.delivery.request import Request
from harmony.delivery.worker import Worker

__all__ = ["Applied", "Derivatives", "Outcome", "Output", "Request", "Result", "Worker", "deliver", "read_filter"]
