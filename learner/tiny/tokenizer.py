"""A real fast tokenizer whose tokens are single characters."""

from string import ascii_letters, digits

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
CHARACTERS = digits + "+-*/=?()<>.,:;!'\n " + ascii_letters


def make_tokenizer(characters: str = CHARACTERS) -> PreTrainedTokenizerFast:
    """One id per character, in the given order after pad, bos, eos and unknown; encoding adds no special tokens."""
    vocabulary = {token: i for i, token in enumerate((PAD, BOS, EOS, UNKNOWN, *characters))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))  # BPE without merges: one token per character
    backend.decoder = decoders.Fuse()  # otherwise decoding puts spaces between characters
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
