"""A real fast tokenizer whose tokens are single characters."""

from string import ascii_letters, digits

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
CHARACTERS = digits + "+-*/=?()<>.,:;!'\n " + ascii_letters


def make_tokenizer(characters: str = CHARACTERS) -> PreTrainedTokenizerFast:
    """One id a character, in the given order after pad, bos, eos and unknown; it puts no special tokens around a text."""
    vocabulary = {token: i for i, token in enumerate((PAD, BOS, EOS, UNKNOWN, *characters))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))  # BPE without merges leaves characters
    backend.decoder = decoders.Fuse()  # or decoding would put spaces between characters
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
