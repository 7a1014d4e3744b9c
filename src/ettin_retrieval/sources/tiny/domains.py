"""The two domains: web pages on everyday things, and abstracts on health conditions."""

from __future__ import annotations

from ettin_retrieval.sources.tiny.concepts import (
    GENERAL_ASPECTS,
    SCIENTIFIC_ASPECTS,
    SCIENTIFIC_SUBJECTS,
    WEB_ASPECTS,
    WEB_SUBJECTS,
)
from ettin_retrieval.sources.tiny.facts import Domain, DomainName

WEB = Domain(
    aspects=GENERAL_ASPECTS + WEB_ASPECTS,
    subjects=WEB_SUBJECTS,
    openings=(
        "In {y} the {aspect} {subject} in {place} {finding}, our table shows.",
        "The {aspect} {subject} in {place} {finding}, says a report of {n} pages from {y}.",
        "Readers tell us that the {aspect} {subject} in {place} {finding} after {y}.",
        "It turns out that the {aspect} {subject} in {place} {finding} in {n} months of {y}.",
        "About {n} percent of visitors noticed that in {place} the {aspect} {subject} {finding}.",
    ),
    fillers=(
        "The guide is updated every spring.",
        "Conditions vary by region, so call ahead.",
        "Scroll down for the full table.",
        "The numbers were rounded.",
        "Local offices can tell you more.",
        "Read the small print before you decide.",
        "Some people see it differently.",
        "Share this page with a friend.",
        "A short video shows the main points.",
        "The picture was much the same last year.",
    ),
    titles=("",),
    literal=0.4,
)

SCIENTIFIC = Domain(
    aspects=GENERAL_ASPECTS + SCIENTIFIC_ASPECTS,
    subjects=SCIENTIFIC_SUBJECTS,
    openings=(
        "In a cohort of {n} participants from {y}, the {aspect} {subject} in {place} {finding}.",
        "At {n} sites observed in {y}, the {aspect} {subject} in {place} {finding}.",
        "Analysis of {n} hospitals shows that the {aspect} {subject} in {place} {finding}.",
        "Registry data of {y} suggest that in {place} the {aspect} {subject} {finding}.",
        "Our {y} trial with {n} volunteers found that the {aspect} {subject} in {place} {finding}.",
    ),
    fillers=(
        "Outcomes were adjusted for confounders.",
        "Confidence intervals were wide.",
        "The findings were robust.",
        "Samples were processed blind to allocation.",
        "Larger trials seem warranted.",
        "The protocol was registered in advance.",
        "Multivariate models confirmed the association.",
        "No interaction was observed between subgroups.",
        "Missing values were imputed.",
        "Results agreed with an earlier meta-analysis.",
    ),
    titles=(
        "A cohort analysis",
        "Results of a multicentre trial",
        "A systematic review",
        "Evidence from registry data",
        "A prospective observation",
    ),
    # Technical terms are repeated more often than paraphrased.
    literal=0.6,
)

QUESTIONS = (
    "is it true that the {aspect} {subject} in {place} {finding}",
    "{aspect} {subject} in {place} {finding}",
    "how do we know that the {aspect} {subject} in {place} {finding}",
    "in what year was it that the {aspect} {subject} in {place} {finding}",
    "who says that in {place} the {aspect} {subject} {finding}",
)
"""Templates of the queries of training rows, in both domains, and of TinyMSMARCO."""

DOMAINS: dict[DomainName, Domain] = {"web": WEB, "scientific": SCIENTIFIC}
