//! Policies as clients see them: at one gateway and at a pair, in every protocol that they concern.

mod edge;
