"""The Celery engine: every piece of the agent loop is a task.  Nothing else knows Celery."""

from evented_agent.engines.celery.evented_agent import EventedAgent, create_evented_agent

__all__ = ["EventedAgent", "create_evented_agent"]
