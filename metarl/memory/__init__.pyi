from .contract import Access as Access
from .contract import Controller as Controller
from .contract import MemoryCore as MemoryCore
from .contract import Read as Read
from .contract import Store as Store
from .memory import Memory as Memory
from .ops import Content as Content
from .ops import MemoryOps as MemoryOps
from .ops import Query as Query
from .ops import Write as Write
from .ops import visible as visible
from .options import MemoryOptions as MemoryOptions
from .reading import read_together as read_together
from .registry import build_core as build_core
from .registry import build_memory as build_memory
from .registry import register_access as register_access
from .registry import register_controller as register_controller
from .registry import register_store as register_store

__all__: list[str]
