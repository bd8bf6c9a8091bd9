"""What can be measured: your own files, and the public benchmarks with where their owners give them to you."""

from dataclasses import dataclass
from typing import Literal

SEE_OWNERS = "see its owners"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Facts about a benchmark; `files` are relative to the folder that its reader is given.

    kind     what is asked of the model: questions of a chat model; retrieval and recognition of its encoder alone
    splits   how many splits its owners publish results on, to choose one from
    """

    measures: str
    questions: str
    files: tuple[str, ...]
    source: str
    licence: str = SEE_OWNERS
    kind: Literal["questions", "retrieval", "recognition"] = "questions"
    splits: int = 1


CATALOGUE = {
    "mcq": Entry(
        measures="your multiple-choice questions: the option that the video makes likelier",
        questions="yours",
        files=("a JSONL file, see docs/EVALUATION.md",),
        source="you",
        licence="yours",
    ),
    "open_qa": Entry(
        measures="your open questions: the answer must equal one of the right ones",
        questions="yours",
        files=("a JSONL file, see docs/EVALUATION.md",),
        source="you",
        licence="yours",
    ),
    "describe": Entry(
        measures="free descriptions of your videos: is the subject named, is the action named",
        questions="one a video",
        files=("a JSONL file, see docs/EVALUATION.md",),
        source="you",
        licence="yours",
    ),
    "retrieval": Entry(
        measures="your captions: which video belongs to a caption, and which caption to a video",
        questions="one a caption and one a video",
        files=("a JSONL file, see docs/EVALUATION.md",),
        source="you",
        licence="yours",
        kind="retrieval",
    ),
    "recognition": Entry(
        measures="your labelled videos: which of the labels belongs to a video, without training on any",
        questions="one a video",
        files=("a JSONL file, see docs/EVALUATION.md",),
        source="you",
        licence="yours",
        kind="recognition",
    ),
    "msrvtt": Entry(
        measures="retrieval among 1,000 clips of web videos (test 1k-A)",
        questions="1,000 captions and 1,000 videos",
        files=("MSRVTT_JSFUSION_test.csv or test_JSFUSION.json", "videos/all/{video_id}.mp4 (or videos/, TestVideo/)"),
        source="https://github.com/ArrowLuo/CLIP4Clip (lists and links to the videos)",
        licence="academic use only",
        kind="retrieval",
    ),
    "didemo": Entry(
        measures="retrieval of half a minute of personal videos by a paragraph",
        questions="1,004 paragraphs and videos (test)",
        files=("test_data.json", "test_list.txt, if there is one", "videos/{video} (or another ending)"),
        source="https://github.com/LisaAnne/LocalizingMoments",
        licence="BSD 2-clause for the sentences; videos of Flickr: see their owners",
        kind="retrieval",
    ),
    "lsmdc": Entry(
        measures="retrieval of clips of films by what an audio description says",
        questions="1,000 sentences and clips (test)",
        files=("LSMDC16_challenge_1000_publictect.csv", "videos/{film}/{clip}.avi (or videos/{clip}.avi, or .mp4)"),
        source="https://sites.google.com/site/describingmovies (on request)",
        licence="research only, by agreement",
        kind="retrieval",
    ),
    "kinetics400": Entry(
        measures="400 actions of people in ten seconds of web videos, by the names of the classes alone",
        questions="19,881 (val, as far as the videos can still be had)",
        files=(
            "val.csv or annotations/val.csv",
            "val/{youtube_id}_{time_start:06d}_{time_end:06d}.mp4 (or val/{label}/)",
        ),
        source="https://github.com/cvdfoundation/kinetics-dataset",
        licence="CC BY 4.0 for the labels; videos of YouTube: see their owners",
        kind="recognition",
    ),
    "ssv2": Entry(
        measures="174 things done to objects, where the order of time matters, by the names of the classes alone",
        questions="24,777 (validation)",
        files=("labels/validation.json", "labels/labels.json", "20bn-something-something-v2/{id}.webm"),
        source="https://www.qualcomm.com/developer/software/something-something-v-2-dataset (on request)",
        licence="research only, by agreement",
        kind="recognition",
    ),
    "hmdb51": Entry(
        measures="51 actions in films and web videos, by the names of the classes alone",
        questions="1,530 (test of each of the three splits)",
        files=("testTrainMulti_7030_splits/{class}_test_split{1,2,3}.txt", "videos/{class}/{name}.avi"),
        source="https://serre.lab.brown.edu/hmdb51.html",
        licence="CC BY 4.0",
        kind="recognition",
        splits=3,
    ),
    "ucf101": Entry(
        measures="101 actions in web videos, by the names of the classes alone",
        questions="3,783, 3,734 and 3,696 (test of the three splits)",
        files=("ucfTrainTestlist/classInd.txt", "ucfTrainTestlist/testlist{01,02,03}.txt", "videos/{class}/{name}.avi"),
        source="https://www.crcv.ucf.edu/data/UCF101.php",
        kind="recognition",
        splits=3,
    ),
    "mvbench": Entry(
        measures="20 tasks that need more than one frame, from what is done to what would happen; multiple choice",
        questions="4,000 (200 a task)",
        files=("json/{task}.json", "video/ (the unpacked archives)"),
        source="https://huggingface.co/datasets/OpenGVLab/MVBench",
        licence="MIT for the questions; the videos for research, under the terms of their 11 sources",
    ),
    "video_mme": Entry(
        measures="short, medium and long videos of six domains, with or without subtitles; multiple choice",
        questions="2,700 about 900 videos",
        files=("videomme/test-00000-of-00001.parquet or test.jsonl", "data/{videoID}.mp4", "subtitles/{videoID}.srt"),
        source="https://huggingface.co/datasets/lmms-lab/Video-MME",
        licence="academic research only",
    ),
    "video_mme_subtitles": Entry(
        measures="the same with the subtitles to read that are on screen in the frames",
        questions="2,700 about 900 videos",
        files=("videomme/test-00000-of-00001.parquet or test.jsonl", "data/{videoID}.mp4", "subtitles/{videoID}.srt"),
        source="https://huggingface.co/datasets/lmms-lab/Video-MME",
        licence="academic research only",
    ),
    "nextqa_mc": Entry(
        measures="causal, temporal and descriptive questions about daily life; five options",
        questions="8,564 (test), 4,996 (val)",
        files=("test.csv, or val.csv where it is alone", "map_vid_vidorID.json", "NExTVideo/"),
        source="https://github.com/doc-doc/NExT-QA",
        licence="MIT for the questions; videos of VidOR: see its owners",
    ),
    "nextqa_oe": Entry(
        measures="the same as open questions, scored by WUPS",
        questions="9,178 (test), 5,343 (val)",
        files=(
            "test.csv, or val.csv where it is alone",
            "add_reference_answer_{split}.json",
            "map_vid_vidorID.json",
            "NExTVideo/",
        ),
        source="https://github.com/doc-doc/NExT-OE",
    ),
    "activitynet_qa": Entry(
        measures="motion, space, time and free questions about longer videos of activities; short answers",
        questions="8,000 (test)",
        files=("test_q.json", "test_a.json", "all_test/v_{video_name}.mp4 (or mkv, webm, avi, mov)"),
        source="https://github.com/MILVLG/activitynet-qa",
        licence="MIT for the questions; videos of ActivityNet: see its owners",
    ),
    "msvd_qa": Entry(
        measures="what, who, how, when and where in short clips; answers of one word",
        questions="13,157 (test)",
        files=("test_q.json and test_a.json, or test_qa.json and youtube_mapping.txt", "videos/"),
        source="https://github.com/xudejing/video-question-answering",
    ),
    "msrvtt_qa": Entry(
        measures="the same about the clips of MSR-VTT",
        questions="72,821 (test)",
        files=("test_q.json and test_a.json, or test_qa.json", "videos/all/ or videos/"),
        source="https://github.com/xudejing/video-question-answering",
    ),
    "tgif_qa": Entry(
        measures="repeated actions, transitions, counts and single frames of animated GIFs",
        questions="25,751 (test): action 2,274, transition 6,232, count 3,554, frameqa 13,691",
        files=("Test_{task}_question.csv", "gifs/{gif_name}.gif"),
        source="https://github.com/YunseokJANG/tgif-qa",
        licence="academic purposes only",
    ),
    "tgif_frameqa": Entry(
        measures="the questions of TGIF-QA about a single frame, in the files of Video-ChatGPT's zero-shot test",
        questions="13,691 (test)",
        files=("test_q.json", "test_a.json", "mp4/{video_name}.mp4"),
        source="https://github.com/mbzuai-oryx/Video-ChatGPT/blob/main/quantitative_evaluation/README.md",
    ),
    "egoschema": Entry(
        measures="what three minutes of first-person video are about; five options",
        questions="500 with public answers, of 5,031",
        files=("questions.json", "subset_answers.json", "videos/{q_uid}.mp4"),
        source="https://github.com/egoschema/EgoSchema",
        licence="the Ego4D licence",
    ),
    "video_chatgpt": Entry(
        measures="correctness, detail, context, time and consistency of free answers, judged from 0 to 5",
        questions="about 500 videos of ActivityNet-200, several each",
        files=("generic_qa.json", "temporal_qa.json", "consistency_qa.json", "Test_Videos/{video_name}.mp4"),
        source="https://github.com/mbzuai-oryx/Video-ChatGPT/blob/main/quantitative_evaluation/README.md",
    ),
    "tempcompass": Entry(
        measures="action, direction, speed, order and change, with videos that differ in nothing else",
        questions="5,536: multi-choice 1,580, yes_no 2,453, caption_matching 1,503; not its 2,004 captions, which need "
        "a judge",
        files=("questions/{task}.json", "videos/{video}.mp4"),
        source="https://github.com/llyx97/TempCompass",
    ),
}
