/* A stand-in for benchmark_model that takes the flags and prints the lines of TFLite's tool, or of
   LiteRT's when compiled with LITERT. It refuses every flag that its original has not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const FLAGS[] = {
    "--graph", "--num_threads", "--warmup_runs", "--warmup_min_secs", "--num_runs", "--min_secs",
    "--max_secs", "--run_delay", "--report_peak_memory_footprint", "--verbose",
    "--require_full_delegation", "--use_gpu", "--gpu_backend",
#ifdef LITERT
    "--use_cpu", "--use_npu", "--dispatch_library_path", "--compiler_plugin_library_path",
    "--use_profiler", "--result_file_path",
#else
    "--enable_op_profiling", "--use_xnnpack", "--use_nnapi", "--nnapi_accelerator_name",
    "--disable_nnapi_cpu", "--nnapi_allow_fp16", "--gpu_precision_loss_allowed",
    "--max_delegated_partitions",
#endif
};
enum { COUNT = sizeof FLAGS / sizeof FLAGS[0], MAX_VALUE = 1024 };
static char values[COUNT][MAX_VALUE];

static const char *value(const char *name) {
    for (int i = 0; i < COUNT; i++) {
        if (strcmp(FLAGS[i], name) == 0) return values[i];
    }
    return "";
}

static int is_on(const char *name) { return strcmp(value(name), "true") == 0; }

static int take(const char *argument) {
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    for (int i = 0; i < COUNT; i++) {
        if (strlen(FLAGS[i]) == length && strncmp(FLAGS[i], argument, length) == 0) {
            snprintf(values[i], MAX_VALUE, "%s", equals ? equals + 1 : "true");
            return 1;
        }
    }
    return 0;
}

#ifdef LITERT
static void report(int runs) {
    const char *where = is_on("--use_npu") ? "NPU" : is_on("--use_gpu") ? "GPU" : "CPU";
    printf("INFO: [benchmark_litert_model.h:90] accelerator %s, libraries from %s\n", where,
           getenv("LD_LIBRARY_PATH") ? getenv("LD_LIBRARY_PATH") : "nowhere");
    puts("INFO: [benchmark_litert_model.h:182] \n========== BENCHMARK RESULTS ==========");
    puts("INFO: [benchmark_litert_model.h:183] Model initialization: 12.34 ms");
    puts("INFO: [benchmark_litert_model.h:185] Warmup (first):     5.60 ms");
    puts("INFO: [benchmark_litert_model.h:187] Warmup (avg):       4.50 ms (10 runs)");
    printf("INFO: [benchmark_litert_model.h:190] Inference (avg):    4.25 ms (%d runs)\n", runs);
    puts("INFO: [benchmark_litert_model.h:195] Inference (min):    4.00 ms");
    puts("INFO: [benchmark_litert_model.h:196] Inference (max):    5.00 ms");
    puts("INFO: [benchmark_litert_model.h:197] Inference (std):    0.25 ms");
    puts("INFO: [benchmark_litert_model.h:201] Throughput: 0.18 MB/s");
    puts("INFO: [benchmark_litert_model.h:210] Init footprint: 1.5 MB");
    puts("INFO: [benchmark_litert_model.h:211] Overall footprint: 3.5 MB");
    puts("INFO: [benchmark_litert_model.h:212] Peak memory: 42.50 MB");
}
#else
static void profile(const char *type, double milliseconds) {
    puts("============================== Run Order ==============================");
    puts("\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]");
    printf("\t%s\t%.3f\t%.3f\t100.000%%\t100.000%%\t0.000\t1\tfirst/0\n", type, milliseconds,
           milliseconds);
    puts("\nNumber of nodes executed: 3");
    puts("============================== Summary by node type ==============================");
    puts("\t[Node type]\t[count]\t[avg ms]\t[avg %]\t[cdf %]\t[mem KB]\t[times called]");
    printf("\t%s\t1\t%.3f\t10.000%%\t10.000%%\t0.000\t1\n", type, milliseconds);
    printf("\tCONV_2D\t2\t%.3f\t90.000%%\t100.000%%\t0.000\t2\n", 9 * milliseconds);
    puts("\nTimings (microseconds): count=50 curr=3000 avg=3000 std=0");
    puts("Memory (bytes): count=0\n2 nodes observed\n");
}

static void report(int runs) {
    if (is_on("--use_nnapi")) {
        printf("INFO: Explicitly applied NNAPI delegate, and the model graph will be partially "
               "executed by the delegate w/ 2 delegate kernels.\n");
        printf("INFO: accelerator %s\n", value("--nnapi_accelerator_name"));
    } else if (is_on("--use_gpu")) {
        puts("INFO: Explicitly applied GPU delegate, and the model graph will be completely "
             "executed by the delegate.");
    } else if (is_on("--use_xnnpack")) {
        puts("INFO: Though XNNPACK delegate is explicitly applied, the model graph will not be "
             "executed by the delegate.");
    }
    puts("INFO: Initialized session in 38.467ms.");
    puts("INFO: count=10 first=9000 curr=8000 min=7000 max=9000 avg=8100 std=100");
    printf("\nINFO: count=%d first=3100 curr=3000 min=2900 max=3.5e+03 avg=3012.5 std=50 "
           "p5=2950 median=3005 p95=3300\n\n", runs);
    puts("INFO: Inference timings in us: Init: 38467, First inference: 9000, Warmup (avg): 8100, "
         "Inference (avg): 3012.5");
    puts("INFO: Memory footprint delta from the start of the tool (MB): init=1.2 overall=3.4");
    puts("INFO: Overall peak memory footprint (MB) via periodic monitoring: 12.5");
    if (is_on("--enable_op_profiling")) {
        puts("INFO: Profiling Info for Benchmark Initialization:");
        profile("AllocateTensors", 7.5);
        puts("INFO: Operator-wise Profiling Info for Regular Benchmark Runs:");
        profile("SOFTMAX", 0.25);
        puts("INFO: Delegate internal: ");
        profile("Convolution (NHWC, QC8)", 0.125);
    }
}
#endif

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf("usage: %s <flags>\nFlags:\n", argv[0]);
            for (int k = 0; k < COUNT; k++) printf("\t%s=...\t\n", FLAGS[k]);
            return 0;
        }
        if (!take(argv[i])) {
            fprintf(stderr, "ERROR: Unconsumed cmdline flags: %s\n", argv[i]);
            return 1;
        }
    }
    FILE *model = fopen(value("--graph"), "rb");
    char head[8] = {0};
    if (model == NULL || fread(head, 1, 8, model) != 8 || memcmp(head + 4, "TFL3", 4) != 0) {
        fprintf(stderr, "ERROR: Failed to load model %s\n", value("--graph"));
        return 1;
    }
    fclose(model);
#ifdef SILENT
    return 0;
#endif
    report(atoi(value("--num_runs")));
    return 0;
}
