"""Adds up the results of one tests/run: prints "N passed, N failed[, N skipped]" and ends with 0 when none failed.

usage: summarize.py FOLDER   with ctest.xml, gtest/*.xml and, where they ran, e2e.xml
A GoogleTest program counts by its cases, unless it died before it could write them; everything else counts as one.
"""
import glob
import os
import sys
import xml.etree.ElementTree as ElementTree


def cases(path):
    """(passed, failed, skipped) of a JUnit-like file."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        counts[outcome(case)] += 1
    return counts


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("result") == "skipped" or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def main(folder):
    total = {"passed": 0, "failed": 0, "skipped": 0}
    programs = {os.path.splitext(os.path.basename(p))[0]: p for p in glob.glob(folder + "/gtest/*.xml")}
    names = []
    ctest = os.path.join(folder, "ctest.xml")
    if not os.path.exists(ctest):
        sys.exit("summarize: ctest wrote no results")
    for case in ElementTree.parse(ctest).getroot().iter("testcase"):
        result = outcome(case)
        name = case.get("name")
        if name in programs:
            counts = cases(programs[name])
            if result == "failed" and counts["failed"] == 0:  # died, or a sanitizer spoke at its end
                counts["failed"] += 1
        else:
            counts = {"passed": 0, "failed": 0, "skipped": 0}
            counts[result] += 1
        if counts["failed"]:
            names.append(name)
        for key in total:
            total[key] += counts[key]
    e2e = os.path.join(folder, "e2e.xml")
    if os.path.exists(e2e):
        counts = cases(e2e)
        if counts["failed"]:
            names.append("e2e")
        for key in total:
            total[key] += counts[key]
    if names:
        print("failed: " + " ".join(names))
    skipped = ", %d skipped" % total["skipped"] if total["skipped"] else ""
    print("%d passed, %d failed%s" % (total["passed"], total["failed"], skipped))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
