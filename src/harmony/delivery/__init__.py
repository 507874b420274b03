"""From scans to written derivatives: it gets finished objects, never a config."""

from harmony.delivery.applied import Applied
from harmony.delivery.deliver import Outcome, deliver
from harmony.delivery.derivatives import Derivatives, Result
from harmony.delivery.request import Request
from harmony.delivery.worker import Worker

__all__ = ["Applied", "Derivatives", "Outcome", "Request", "Result", "Worker", "deliver"]
