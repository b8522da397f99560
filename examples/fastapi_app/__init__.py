"""An assistant behind FastAPI: runs are started, and followed by id over Server-Sent Events."""
