from .images import EncoderOptions as EncoderOptions
from .images import ImageEncoder as ImageEncoder
from .policy import MemoryPolicy as MemoryPolicy
from .sequence import SequenceClassifier as SequenceClassifier

__all__: list[str]
