"""Keys of other frameworks (verl, TRL, OpenRLHF, slime, NeMo-RL) and what they are here.

Each row has names and what they are here. That is a key of ours, a key and a sentence after ": ", or a sentence where there is no such key.
A name is a key, or a path of keys where the last one alone says too little. `configs.translate` looks names up.
"""

NO_LORA = (
    "there is no LoRA here: every weight is trained. For less memory use learner.deepspeed.zero_optimization with stage = 3 and "
    'offload_optimizer = { device = "cpu" }, more learner.ranks, learner.gradient_checkpointing = true, or a smaller model'
)
NO_FILTERED_SAMPLING = (
    "top-p, top-k and min-p are off and cannot be set, because they change the distribution that the learner computes: "
    "rollout.temperature is the only sampling setting"
)
NO_CRITIC = "there is no critic and no value function: advantages compare the responses of a group; remove it, see objective.advantage"
NO_STOP = "a response ends at the model's own end token or at rollout.max_response_tokens: no other stop can be set; remove it"
SCHEDULE = 'learner.schedule: "constant", "linear" or "cosine", over run.steps; warm-up: learner.warmup_updates; end: learner.min_lr'
OFFLOAD = 'set learner.deepspeed.zero_optimization.{0} = {{ device = "cpu" }}'
IN_TOKENS = "learner.micro_batch_tokens: it counts tokens of a rank in one pass, not responses, and changes memory and speed alone"
NO_ACCUMULATION = "remove it: an update always covers its whole part of the step, in as many passes as learner.micro_batch_tokens needs"
LEARNER_PARALLEL = "set rollout.vllm.tensor_parallel_size for the engines; the learner shards by ZeRO (learner.deepspeed)"
PARALLEL = "set rollout.vllm.tensor_parallel_size (vLLM's own name) in [rollout.vllm]"
MEMORY = "set rollout.vllm.gpu_memory_utilization (vLLM's own name) in [rollout.vllm]"
GROUP = "rollout.group_size"
PROMPTS = "rollout.groups_per_step: it counts prompts, each with rollout.group_size responses"
LOGGING = 'trackers.use: such as ["wandb", "tensorboard"]; every step is in metrics.jsonl of run.dir in any case'
TRACKER_PROJECT, TRACKER_RUN = "trackers.project", "trackers.name"
WANDB_KEY = "set WANDB_API_KEY in the environment, and remove it here: a config is written to run.dir"
MLFLOW_KEY = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment, and remove it here"
MLFLOW_PLACE = "set MLFLOW_TRACKING_URI in the environment, and remove it here: an address may hold a password"
TRACKIO_PLACE = "set TRACKIO_SERVER_URL or TRACKIO_SPACE_ID in the environment, and remove it here: the address holds a token"
TRACKIO_KEY = "set TRACKIO_WRITE_TOKEN in the environment, and remove it here: a config is written to run.dir"
WANDB_PLACE = "set WANDB_BASE_URL in the environment, and remove it here"
WANDB_MODE = "trackers.offline: true writes to the run directory alone"
WANDB_TEAM = "set WANDB_ENTITY in the environment, and remove it here"
TOKEN = "set HF_TOKEN in the environment, and remove it here: a config is written to run.dir"
API_KEY = "put it into a variable of the environment and name that in judge.key_env or http.key_env: a config is written to run.dir"
NAMES = "a run has a folder and no name: set run.dir"
EPOCHS = "a run is counted in steps: set run.steps = epochs × prompts / rollout.groups_per_step"
OWN_REWARD = 'reward.checker: a checker\'s name, or your function as "path/to/file.py:function"'
PLACED = "roles share no GPU and Ray places them: set rollout.engines and learner.ranks (one GPU each rank)"
REFERENCE = 'kl.reference: the model that kl.coefficient pulls to, or "initial"'
KL = 'kl.coefficient: it also needs kl.reference = "initial"; kl.place says whether it is in the loss or in the reward'
KL_IN_LOSS = 'set kl.reference = "initial", kl.coefficient and kl.place = "loss"'
ADVANTAGE = "objective.preset: the whole algorithm (grpo, dapo, gspo, rloo …); objective.advantage changes its advantage alone"
PROMPT_TOKENS = "data.max_prompt_tokens: with rollout.max_response_tokens it is the context; over-long prompts follow data.overlong"

ROWS: tuple[tuple[str, str], ...] = (
    # The model.
    ("pretrain model_name model_name_or_path hf_checkpoint actor_model_name_or_path", "model.path"),
    ("torch_dtype bf16 fp16 param_dtype mixed_precision precision", "model.dtype"),
    ("lora lora_rank lora_r lora_alpha lora_dropout lora_target_modules target_modules use_lora use_peft", NO_LORA),
    ("peft peft_config lora_config qlora load_in_4bit load_in_8bit", NO_LORA),
    ("flash_attn attn_implementation use_flash_attn", "learner.attention"),
    ("enable_gradient_checkpointing activation_checkpointing", "learner.gradient_checkpointing"),
    ("use_remove_padding packing_samples sequence_packing use_dynamic_bsz", "learner.packing"),
    # The optimizer.
    ("learning_rate actor_learning_rate optim.lr", "learner.lr"),
    ("scheduler lr_schedule lr_scheduler_type lr_scheduler lr_decay_style warmup_style", SCHEDULE),
    ("min_lr_ratio min_lr_rate", "learner.min_lr: it is a learning rate, not a share of learner.lr"),
    ("num_cycles", 'learner.schedule: "cosine" falls once, over half a wave; remove it'),
    ("warmup_steps lr_warmup_steps num_warmup_steps", "learner.warmup_updates: it counts updates, not steps"),
    ("warmup_ratio lr_warmup_ratio lr_warmup_steps_ratio", "learner.warmup_updates: it is a number of updates, not a share"),
    ("grad_clip clip_grad max_norm gradient_clipping", "learner.max_grad_norm"),
    ("adam_beta1 adam_beta2 adam_betas", "learner.betas: both in one array, such as [0.9, 0.999]"),
    ("optim optimizer", "AdamW is the only optimizer: remove it, and set learner.lr, learner.betas and learner.weight_decay"),
    ("offload_optimizer optimizer_offload adam_offload", OFFLOAD.format("offload_optimizer")),
    ("param_offload offload_param cpu_offload", OFFLOAD.format("offload_param") + "; it needs stage = 3"),
    ("zero_stage", "set learner.deepspeed.zero_optimization.stage"),
    ("fsdp_config fsdp megatron strategy", "the learner is sharded by DeepSpeed's ZeRO alone: see learner.deepspeed"),
    (
        "ulysses_sequence_parallel_size",
        "the learner has no sequence parallelism: remove it; learner.packing and ZeRO (learner.deepspeed) save memory",
    ),
    # Sizes of batches.
    (
        "n_samples_per_prompt num_generations num_generations_per_prompt rollout.n n_samples",
        GROUP,
    ),
    ("rollout_batch_size num_prompts_per_step gen_batch_size prompts_per_step rollout.batch_size", PROMPTS),
    (
        "train_batch_size",
        f"{PROMPTS}. Where it counted the responses of an update (OpenRLHF), learner.updates_per_step divides the step instead",
    ),
    (
        "global_batch_size",
        "learner.updates_per_step: an update has rollout.groups_per_step × rollout.group_size / updates_per_step responses",
    ),
    (
        "train_global_batch_size",
        "learner.updates_per_step: an update has rollout.groups_per_step × rollout.group_size / updates_per_step responses",
    ),
    (
        "ppo_mini_batch_size mini_batch_size num_mini_batches",
        "learner.updates_per_step: the number of updates of a step, so rollout.groups_per_step divided by the prompts of a mini-batch",
    ),
    ("ppo_epochs num_iterations max_epochs", "every response is learned once: remove it, or raise learner.updates_per_step"),
    ("micro_batch_size micro_batch_size_per_gpu ppo_micro_batch_size ppo_micro_batch_size_per_gpu", IN_TOKENS),
    ("micro_train_batch_size micro_rollout_batch_size per_device_train_batch_size", IN_TOKENS),
    ("log_prob_micro_batch_size log_prob_micro_batch_size_per_gpu train_micro_batch_size", IN_TOKENS),
    ("ppo_max_token_len_per_gpu max_tokens_per_gpu log_prob_max_token_len_per_gpu", "learner.micro_batch_tokens"),
    ("gradient_accumulation_steps grad_accum accumulate_grad_batches steps_per_generation", NO_ACCUMULATION),
    # Lengths and sampling.
    ("data.max_tokens max_prompt_length prompt_max_len max_prompt_len rollout_max_prompt_len", PROMPT_TOKENS),
    ("max_response_length max_completion_length generate_max_len max_new_tokens", "rollout.max_response_tokens"),
    ("rollout_max_response_len response_length max_completion_len rollout.max_tokens", "rollout.max_response_tokens"),
    (
        "max_model_len max_seq_len max_length max_seq_length",
        "the context follows from data.max_prompt_tokens + rollout.max_response_tokens: set those",
    ),
    ("top_p top_k min_p repetition_penalty rollout_top_p rollout_top_k", NO_FILTERED_SAMPLING),
    ("rollout_temperature sampling_temperature", "rollout.temperature"),
    ("val_kwargs.n eval_n n_samples_per_eval_prompt eval_n_samples_per_prompt", "rollout.eval_responses"),
    ("do_sample val_kwargs.do_sample val_kwargs.temperature", "evaluation is greedy, with rollout.eval_responses sampled beside it"),
    ("stop stop_sequences stop_words stop_strings stop_token_ids eos_token", NO_STOP),
    ("rollout.samples rollout.num_samples rollout.num_responses", GROUP),
    # Engines and places.
    ("gpu_memory_utilization vllm_gpu_memory_utilization mem_fraction_static", MEMORY),
    ("tensor_model_parallel_size tensor_parallel_size vllm_tensor_parallel_size rollout_num_gpus_per_engine", PARALLEL),
    ("learner.tensor_parallel learner.tensor_parallel_size learner.pipeline_parallel learner.context_parallel", LEARNER_PARALLEL),
    ("tensor_parallel", PARALLEL),
    ("vllm_num_engines num_engines data_parallel_size", "rollout.engines"),
    ("actor_num_gpus_per_node actor_num_nodes n_gpus_per_node nnodes num_nodes gpus_per_node", PLACED),
    ("colocate_all_models colocate vllm_mode vllm_enable_sleep free_cache_engine hybrid_engine", PLACED),
    ("use_vllm rollout.name rollout.mode rollout_backend", "vLLM is the only engine: remove it"),
    (
        "enforce_eager max_num_seqs max_num_batched_tokens enable_chunked_prefill enable_prefix_caching kv_cache_dtype",
        "it is one of vLLM's own: put it into [rollout.vllm]",
    ),
    ("async_train async_queue_size one_step_off async_level max_off_policy_steps", "run.max_staleness"),
    # The objective.
    ("adv_estimator advantage_estimator algorithm algo loss_type policy_loss loss_mode", ADVANTAGE),
    ("kl_coef init_kl_coef kl_loss_coef kl_ctrl.kl_coef beta kl_beta kl_penalty_coef", KL),
    ("use_kl_loss", KL_IN_LOSS),
    ("use_kl_in_reward", 'set kl.reference = "initial", kl.coefficient and kl.place = "reward"'),
    ("kl_loss_type kl_penalty kl_estimator", "kl.estimator"),
    ("kl_ctrl kl_target kl_horizon", "kl.coefficient: it stays constant, there is no adaptive controller"),
    ("ref ref_model ref_load reference_model ref_pretrain ref_num_gpus_per_node", REFERENCE),
    ("sync_ref_model ref_model_sync_steps ref_update_interval", "kl.refresh_every"),
    (
        "clip_range cliprange epsilon eps_clip clip_ratio clip_eps",
        "set objective.clip_low and objective.clip_high, the bounds below and above a ratio of 1",
    ),
    ("epsilon_high eps_clip_high cliprange_high clip_ratio_high clip_range_high", "objective.clip_high"),
    ("epsilon_low eps_clip_low cliprange_low clip_ratio_low clip_range_low", "objective.clip_low"),
    ("eps_clip_low_high", "set objective.clip_low and objective.clip_high, each by itself"),
    ("clip_ratio_c delta dual_clip eps_clip_c", 'objective.cap: with objective.surrogate = "dual_clip"'),
    ("loss_agg_mode token_level_loss loss_aggregation", "objective.reduction"),
    ("scale_rewards norm_adv_by_std_in_grpo normalize_advantages grpo_std_normalization", "objective.advantage"),
    ("importance_sampling_level sequence_level_importance_ratios", "objective.ratio"),
    ("entropy_coeff entropy_coef entropy_loss_coef entropy_bonus ent_coef", "entropy.coefficient"),
    (
        "entropy_target target_entropy use_adaptive_entropy",
        "entropy.target: the adaptive coefficient, with entropy.change and entropy.largest",
    ),
    ("entropy_coef_delta delta_ent_coef", "entropy.change"),
    ("entropy_coef_max max_ent_coef", "entropy.largest"),
    ("mask_truncated_completions overlong_filtering", "objective.overlong_filter"),
    ("overlong_buffer overlong_buffer_len overlong_buffer.len", "reward.overlong_cache"),
    ("aux_loss_coef router_aux_loss_coef moe_aux_loss_coeff", "learner.aux_loss"),
    ("tis_imp_ratio_cap rollout_is_threshold enable_vllm_is_correction use_tis", "correction.preset"),
    ("critic value_loss_coef vf_coef gamma lam lambd critic_learning_rate critic_warmup", NO_CRITIC),
    ("filter_groups dynamic_filtering filter_groups.enable", "rollout.dynamic_sampling"),
    # Rewards.
    ("reward.function reward.func reward.fn reward.path reward.file", OWN_REWARD),
    (
        "reward_fn reward_funcs reward_function custom_reward_function rm_type reward_func",
        OWN_REWARD,
    ),
    ("reward_weights", "reward.parts: each part has its own weight"),
    (
        "reward_model reward_pretrain reward_model_path",
        'no reward model is loaded here: serve it, and set reward.checker = "http" with http.url, or "judge" with judge.url',
    ),
    ("remote_rm_url", 'http.url: with reward.checker = "http"'),
    # Data.
    ("train_files data.path prompt_data dataset_name train_file train_data dataset", "data.train"),
    ("val_files eval_data val_file data.test data.validation eval_dataset val_data eval_prompt_data", "data.eval"),
    ("prompt_key input_key data.prompt", "data.prompt_field"),
    ("data.reference data.answer label_key answer_key reward_fn_key solution_key", "data.reference_field"),
    ("apply_chat_template custom_chat_template", "data.chat_template"),
    ("chat_template_path chat_template_file", "data.template_file"),
    ("system_prompt system_message", "data.system"),
    ("chat_template_kwargs apply_chat_template_kwargs enable_thinking", "data.template_arguments: { enable_thinking = false }"),
    ("response_prefix assistant_prefix", "data.prefill"),
    ("filter_overlong_prompts truncation", "data.overlong: over-long prompts are refused or dropped, never cut"),
    ("val_batch_size", "evaluation asks all of data.eval at once: remove it, or set data.eval_limit"),
    ("shuffle", "prompts are always shuffled by run.seed: remove it; data.sampler is the other choice"),
    # The run.
    ("total_training_steps max_steps num_rollout train_steps total_steps", "run.steps"),
    ("num_train_epochs total_epochs num_episodes epochs num_epochs max_num_epochs", EPOCHS),
    ("save_freq save_steps save_interval checkpoint_interval save_period", "run.save_every"),
    ("save_total_limit max_ckpt_num max_actor_ckpt_to_keep", "run.keep_checkpoints"),
    ("checkpoint_every", "run.save_every"),
    ("test_freq eval_steps eval_interval val_period eval_freq", "run.eval_every"),
    ("val_before_train eval_on_start", "a new run with data.eval always evaluates before its first step: remove it"),
    ("output_dir default_local_dir save_path ckpt_path save_dir", "run.dir"),
    ("resume_mode resume_from_checkpoint resume_from_path load_checkpoint", "run.resume"),
    ("project_name wandb_project mlflow_experiment_name trackio_project", TRACKER_PROJECT),
    ("experiment_name run_name wandb_run_name wandb_name", TRACKER_RUN),
    ("wandb_group", NAMES),
    ("logger report_to use_wandb wandb logging_steps log_interval use_tensorboard", LOGGING),
    ("hf_token hub_token huggingface_token use_auth_token", TOKEN),
    ("api_key openai_api_key", API_KEY),
    ("wandb_key wandb_api_key wandb.api_key trackers.api_key trackers.key trackers.token trackers.password", WANDB_KEY),
    ("wandb_entity wandb_team trackers.entity", WANDB_TEAM),
    ("wandb_mode", WANDB_MODE),
    ("wandb_base_url wandb_host", WANDB_PLACE),
    ("mlflow_tracking_token mlflow_token mlflow_password mlflow_tracking_password mlflow_username", MLFLOW_KEY),
    ("mlflow_tracking_uri mlflow_uri mlflow_url tracking_uri", MLFLOW_PLACE),
    ("trackio_space_id trackio_server_url trackio_url space_id", TRACKIO_PLACE),
    ("trackio_write_token trackio_token", TRACKIO_KEY),
    ("config_name config_path", "a run is one TOML file: give its path after the command"),
)
FOREIGN: dict[str, str] = {name: text for names, text in ROWS for name in names.split()}
