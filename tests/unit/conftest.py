"""What the unit tests share: properties hold however slow the machine is that looks for an exception."""

from hypothesis import HealthCheck, settings

settings.register_profile("prewarm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("prewarm")
