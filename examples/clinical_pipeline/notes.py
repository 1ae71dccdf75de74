"""What is read? Notes on patients who do not exist."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("NOTES", "Note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A clinician's note."""

    note_id: str
    text: str


NOTES = tuple(
    Note(note_id=f"note-{number}", text=text)
    for number, text in enumerate(
        (
            "52-year-old woman with invasive breast cancer, stage II, HER2 positive. Lumpectomy, then trastuzumab.",
            "67-year-old man, prostate cancer, stage III, Gleason score 8. Started on leuprolide, tolerates it well.",
            "Colon cancer, stage III, KRAS mutation found. Hemicolectomy without complications. FOLFOX is planned.",
            "Lung cancer, stage IV, EGFR mutation found. Osimertinib daily; the last scan shows a partial response.",
            "Melanoma, stage II, BRAF mutation found. Wide excision; no systemic therapy so far.",
            "48-year-old woman, breast cancer, stage I, estrogen receptor positive. Lumpectomy, then tamoxifen.",
            "Ovarian cancer, stage III, BRCA1 mutation found. Debulking surgery; olaparib as maintenance.",
            "Gastric cancer, stage II, HER2 positive. Gastrectomy; trastuzumab with chemotherapy.",
        ),
        start=1,
    )
)
