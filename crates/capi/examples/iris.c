/* Logistic regression on the iris data, trained by three rules.
 *
 * Prints a table in Markdown: for each rule the learning rate of a grid with the least log loss in a cross-validation
 * with five folds, and what it gives on the rows that were left out. Each training has 300 steps over all of its rows,
 * from zeros, with a rate that falls linearly to 0.
 */

#include "iris.h"

#include <math.h>
#include <rootstep.h>
#include <stdio.h>
#include <stdlib.h>

enum { FOLDS = 5, STEPS = 300, INPUTS = FEATURES + 1, RATES = 9 };

static const double GRID[RATES] = {0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0};

typedef rootstep_status make_rule(rootstep_rule *rule, size_t size, double learning_rate);

typedef struct {
  double weights[CLASSES * INPUTS];
  double momentum[CLASSES * INPUTS];
} model;

typedef struct {
  double log_loss;
  int right;
} score;

static void check(rootstep_status status) {
  if (status != ROOTSTEP_STATUS_OK) {
    fprintf(stderr, "%s: %s\n", rootstep_status_name(status), rootstep_last_error());
    exit(1);
  }
}

static int is_left_out(int row, int fold) { return row % FOLDS == fold; }

/* Features with mean 0 and deviation 1 over the rows of the training, and 1 for the intercept. */
static void standardise(double inputs[ROWS][INPUTS], int fold) {
  for (int feature = 0; feature < FEATURES; feature++) {
    double sum = 0, squares = 0;
    int rows = 0;
    for (int row = 0; row < ROWS; row++) {
      if (!is_left_out(row, fold)) {
        sum += IRIS[row].features[feature];
        squares += IRIS[row].features[feature] * IRIS[row].features[feature];
        rows++;
      }
    }
    double mean = sum / rows, deviation = sqrt(squares / rows - mean * mean);
    for (int row = 0; row < ROWS; row++) {
      inputs[row][feature] = (IRIS[row].features[feature] - mean) / deviation;
    }
  }
  for (int row = 0; row < ROWS; row++) {
    inputs[row][FEATURES] = 1;
  }
}

static void probabilities(const double *weights, const double *input, double p[CLASSES]) {
  double largest = -INFINITY, sum = 0;
  for (int class = 0; class < CLASSES; class ++) {
    p[class] = 0;
    for (int i = 0; i < INPUTS; i++) {
      p[class] += weights[class * INPUTS + i] * input[i];
    }
    largest = fmax(largest, p[class]);
  }
  for (int class = 0; class < CLASSES; class ++) {
    sum += p[class] = exp(p[class] - largest);
  }
  for (int class = 0; class < CLASSES; class ++) {
    p[class] /= sum;
  }
}

/* The gradient of the mean log loss over the rows of the training. */
static void find_gradient(const double *weights, double inputs[ROWS][INPUTS], int fold, double *gradient) {
  for (int i = 0; i < CLASSES * INPUTS; i++) {
    gradient[i] = 0;
  }
  for (int row = 0; row < ROWS; row++) {
    double p[CLASSES];
    if (is_left_out(row, fold)) {
      continue;
    }
    probabilities(weights, inputs[row], p);
    p[IRIS[row].species] -= 1;
    for (int class = 0; class < CLASSES; class ++) {
      for (int i = 0; i < INPUTS; i++) {
        gradient[class * INPUTS + i] += p[class] * inputs[row][i] / (ROWS - ROWS / FOLDS);
      }
    }
  }
}

static void train(model *of, make_rule *make, double learning_rate, double inputs[ROWS][INPUTS], int fold) {
  double gradient[CLASSES * INPUTS];
  rootstep_rule rule;
  check(make(&rule, sizeof rule, learning_rate));
  /* What is not set is 0: there is none of it. */
  rootstep_tensor tensor = {.size = sizeof tensor};
  tensor.rule = &rule;
  tensor.parameters = of->weights;
  tensor.parameters_type = ROOTSTEP_TYPE_F64;
  tensor.gradient = gradient;
  tensor.gradient_type = ROOTSTEP_TYPE_F64;
  tensor.length = CLASSES * INPUTS;
  tensor.momentum = of->momentum;
  tensor.momentum_format = ROOTSTEP_MOMENTUM_FORMAT_FULL;
  for (int step = 0; step < STEPS; step++) {
    find_gradient(of->weights, inputs, fold, gradient);
    rule.learning_rate = learning_rate * (1 - step / (double)STEPS);
    tensor.first = step == 0;
    check(rootstep_step(NULL, &tensor));
  }
}

/* The mean log loss of the rows that each fold leaves out, and how many of them are predicted. */
static score cross_validate(make_rule *make, double learning_rate) {
  score of = {0, 0};
  for (int fold = 0; fold < FOLDS; fold++) {
    double inputs[ROWS][INPUTS];
    model trained = {{0}, {0}};
    standardise(inputs, fold);
    train(&trained, make, learning_rate, inputs, fold);
    for (int row = 0; row < ROWS; row++) {
      if (is_left_out(row, fold)) {
        double p[CLASSES];
        probabilities(trained.weights, inputs[row], p);
        double own = p[IRIS[row].species];
        of.log_loss -= log(own) / ROWS;
        of.right += own >= p[0] && own >= p[1] && own >= p[2];
      }
    }
  }
  return of;
}

int main(void) {
  static const struct {
    const char *name;
    make_rule *make;
  } rules[] = {{"pbSGD, square root", rootstep_rule_pbsgd},
               {"PowerStep, momentum 0.9", rootstep_rule_powerstep},
               {"SGD", rootstep_rule_sgd},
               {"signSGD", rootstep_rule_sign_sgd}};
  puts("| rule | learning rate | log loss | predicted |");
  puts("|---|---|---|---|");
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    double best_rate = 0;
    score best = {INFINITY, 0};
    for (int rate = 0; rate < RATES; rate++) {
      score found = cross_validate(rules[i].make, GRID[rate]);
      if (found.log_loss < best.log_loss) {
        best = found;
        best_rate = GRID[rate];
      }
    }
    printf("| %s | %g | %.4f | %d of %d |\n", rules[i].name, best_rate, best.log_loss, best.right, ROWS);
  }
  return 0;
}
