//! The contests of `cargo xtask bench` that take turns in one run, with what is asked of each.

use super::duel::{Goal, Topic};

pub const INFER: Topic = Topic {
    name: "infer",
    title: "Answers of a forest",
    peers: &["xgboost", "lightgbm", "lleaves", "tl2cgen"],
    ours_too: &["infer-hessboost"],
    threads: &[1, 2],
    goals: &[
        Goal {
            measure: "single",
            peers: &["xgboost", "lightgbm"],
            ratio_max: 0.02,
            threads: 1,
        },
        Goal {
            measure: "single",
            peers: &["infer-hessboost"],
            ratio_max: 0.5,
            threads: 1,
        },
        Goal {
            measure: "batch",
            peers: &["xgboost"],
            ratio_max: 0.1,
            threads: 1,
        },
    ],
    // XGBoost sums margins in single precision.
    agreement: 1e-4,
    note: "20,000 rows × 28 features, 5 classes × 300 rounds × depth 6 (1,500 trees), 3 % missing; the same XGBoost model \
           on all sides (tl2cgen compiles it with gcc), but for LightGBM and lleaves (compiled), which answer by LightGBM's own. One item is one row.",
};

pub const EXPLAIN: Topic = Topic {
    name: "explain",
    title: "Exact TreeSHAP of a forest",
    peers: &["xgboost", "shap"],
    ours_too: &[],
    threads: &[1, 2],
    goals: &[Goal {
        measure: "explain",
        peers: &["xgboost", "shap"],
        ratio_max: 0.333,
        threads: 1,
    }],
    // `shap` leaves out the bias term, so only the order of magnitude is comparable there; each value of XGBoost's is
    // compared by the script.
    agreement: 0.5,
    note: "256 rows by the forest of `infer`; each of XGBoost's values lies within 1e-5 of ours, or the command fails. One item is one row.",
};

pub const TEXT: Topic = Topic {
    name: "text",
    title: "TF-IDF and logistic regression",
    peers: &["sklearn"],
    ours_too: &[],
    threads: &[1, 2],
    goals: &[Goal {
        measure: "learn",
        peers: &["sklearn"],
        ratio_max: 0.35,
        threads: 2,
    }],
    agreement: 1e-3,
    note: "CLINC150: 23,700 texts, 151 classes, words and pairs of words, C = 1, to the same objective (its value is shown). One item is one text.",
};

pub const CLUSTER: Topic = Topic {
    name: "cluster",
    title: "k-means and Gaussian mixtures",
    peers: &["sklearn"],
    ours_too: &[],
    threads: &[1, 2],
    goals: &[
        Goal {
            measure: "kmeans",
            peers: &["sklearn"],
            ratio_max: 0.5,
            threads: 2,
        },
        Goal {
            measure: "mixture",
            peers: &["sklearn"],
            ratio_max: 0.5,
            threads: 2,
        },
    ],
    agreement: 0.01,
    note: "60,000 points × 12 features, 8 segments; k-means with 5 starts (value: inertia), one full-covariance mixture (value: mean log likelihood).",
};

pub const TREES: Topic = Topic {
    name: "trees",
    title: "Growing equal forests, from a table in memory",
    peers: &["xgboost", "lightgbm"],
    ours_too: &[],
    threads: &[1, 2],
    goals: &[Goal {
        measure: "grow",
        peers: &["xgboost", "lightgbm"],
        ratio_max: 0.75,
        threads: 2,
    }],
    // LightGBM grows leaf by leaf and comes to another loss.
    agreement: 0.25,
    note: "49,550 rows × 28 features, 5 classes × 100 rounds, depth 6, learning rate 0.1; LightGBM with 63 leaves. `loss` is the log loss on the \
           learned rows, to see that equal work was done. One item is one round.",
};
