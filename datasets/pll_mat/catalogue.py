"""The public partial-label sets: what they are, where they come from, and how to recognise their files."""

from __future__ import annotations

from dataclasses import dataclass

PAGE = "https://palm.seu.edu.cn/zhangml/"
FILES = f"{PAGE}files/"
TERMS = (
    "academic use only, at one's own risk (the collector's statement; copies with an MIT text beside them circulate);"
    " rights in the data stay with the cited authors"
)


@dataclass(frozen=True)
class PublicSet:
    """One file with features, true labels and candidate sets."""

    title: str
    task: str
    file: str
    """The name under which the file circulates; case and punctuation do not matter when it is looked for."""
    obtain: str
    citation: str
    examples: int
    features: int
    classes: int
    """Classes in the file, including those without examples."""
    candidates: float
    """Mean size of the candidate sets."""
    empty: int | None = None
    """Classes without an example; None where we have not seen the file."""
    sha256: str = ""
    """SHA-256 of the file as it circulates; empty where we have not seen the file."""
    bytes: int | None = None
    ordinal: bool = False
    """Class numbers are positions on a scale."""
    remark: str = ""


SETS = {
    "lost": PublicSet(
        title="Lost",
        task="faces of a television series, named by its script",
        file="lost.mat",
        obtain=f"{FILES}lost.rar",
        citation="Cour, Sapp and Taskar. Learning from Partial Labels. JMLR 12, 2011.",
        examples=1122,
        features=108,
        classes=16,
        empty=2,
        candidates=2.23,
        sha256="42a8cc43e05578087e7b8ca194647829ec535dc4d0a86cf47f357c5eb3146e4f",
        bytes=936_096,
        remark="Papers that count 14 classes leave out the two without examples.",
    ),
    "msrcv2": PublicSet(
        title="MSRCv2",
        task="segments of photographs, named by the objects of the whole picture",
        file="MSRCv2.mat",
        obtain=f"{FILES}MSRCv2.rar",
        citation="Liu and Dietterich. A Conditional Multinomial Mixture Model for Superset Label Learning. NIPS, 2012.",
        examples=1758,
        features=48,
        classes=23,
        empty=0,
        candidates=3.16,
        sha256="948e4d443a5450308f05aa689bc82d9bcc7af699a113a6a81c40ef337a20c393",
        bytes=381_088,
    ),
    "birdsong": PublicSet(
        title="BirdSong",
        task="syllables of bird song, named by the species of the whole recording",
        file="BirdSong.mat",
        obtain=f"{FILES}BirdSong.rar",
        citation="Briggs, Fern and Raich. Rank-Loss Support Instance Machines for MIML Instance Annotation. KDD, 2012.",
        examples=4998,
        features=38,
        classes=13,
        empty=0,
        candidates=2.18,
        sha256="2170d46765a151ac80623d9a1242e0299802236e5574442bdb596bef90f50743",
        bytes=1_052_915,
    ),
    "fg_net": PublicSet(
        title="FG-NET",
        task="faces, with ages that several people guessed",
        file="FG-NET.mat",
        obtain=f"{FILES}FG-NET.rar",
        citation="Panis and Lanitis. An Overview of Research Activities in Facial Age Estimation Using the FG-NET Aging"
        " Database. ECCV Workshops, 2014.",
        examples=1002,
        features=262,
        classes=78,
        empty=15,
        candidates=7.48,
        sha256="5b8d43e40cee007f6438a7a74d600b5cf67ac596754a322ce91b0fc6811f45db",
        bytes=2_024_494,
        ordinal=True,
        remark="Exact ages are hard to hit: within_3 and within_5 count answers that are off by so many years at most.",
    ),
    "italian": PublicSet(
        title="Italian",
        task="words, with all parts of speech that a dictionary allows",
        file="italian.mat",
        obtain="https://github.com/pruirui/partial_label_realworld_dataset",
        citation="no reference circulates with the file; name the place where you found it",
        examples=21_878,
        features=519,
        classes=90,
        empty=13,
        candidates=1.60,
        sha256="7981fff3efd2df21abfac990d71777dd9637bf6ab8ccd15066b086287b9e6fde",
        bytes=287_098,
        remark="9,417 rows repeat others, so that random splits put copies of training rows into the test.",
    ),
    "soccer_player": PublicSet(
        title="Soccer Player",
        task="faces of news photographs, named by their captions",
        file="Soccer Player.mat",
        obtain=f"{PAGE} (archive 'Soccer Player')",
        citation="Zeng et al. Learning by Associating Ambiguously Labeled Images. CVPR, 2013.",
        examples=17_472,
        features=279,
        classes=171,
        candidates=2.09,
    ),
    "yahoo_news": PublicSet(
        title="Yahoo! News",
        task="faces of news photographs, named by their captions",
        file="Yahoo! News.mat",
        obtain=f"{PAGE} (archive 'Yahoo! News')",
        citation="Guillaumin, Verbeek and Schmid. Multiple Instance Metric Learning from Automatically Labeled Bags of"
        " Faces. ECCV, 2010.",
        examples=22_991,
        features=163,
        classes=219,
        candidates=1.91,
    ),
    "mirflickr": PublicSet(
        title="Mirflickr",
        task="photographs with the tags of their owners",
        file="Mirflickr.mat",
        obtain=f"{FILES}Mirflickr.zip",
        citation="Huiskes and Lew. The MIR Flickr Retrieval Evaluation. MIR, 2008.",
        examples=2780,
        features=1536,
        classes=14,
        candidates=2.76,
        remark="Files of the same name with XAll or YAll inside belong to other tasks.",
    ),
    "malagasy": PublicSet(
        title="Malagasy",
        task="words, with all parts of speech that a dictionary allows",
        file="malagasy.mat",
        obtain=f"{PAGE} (archive 'Malagasy')",
        citation="Garrette, Mielens and Baldridge. Real-World Semi-Supervised Learning of POS-Taggers for Low-Resource"
        " Languages. ACL, 2013.",
        examples=5303,
        features=384,
        classes=44,
        candidates=8.35,
    ),
}


def plain(name: str) -> str:
    """A file's stem in the form in which stems are compared: "Yahoo! News" and "yahoo-news" become the same."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
